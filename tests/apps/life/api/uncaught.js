module.exports = () => {
  setImmediate(() => {
    throw new Error('secret detail of a late throw');
  });
};
