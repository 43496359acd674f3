throw new Error('secret detail of a broken module');
