module.exports = async () => {
  throw new TypeError('secret detail of a rejection');
};
