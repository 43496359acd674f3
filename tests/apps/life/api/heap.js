// Memory inside of the interpreter's heap.
const eaten = [];

module.exports = () => {
  for (;;) eaten.push(new Array(1024 * 1024).fill({ eaten }));
};
