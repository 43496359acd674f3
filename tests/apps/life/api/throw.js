module.exports = () => {
  throw new Error('secret detail of a throw');
};
