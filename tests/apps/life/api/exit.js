module.exports = () => {
  console.log('about to leave');
  process.exit(3);
};
