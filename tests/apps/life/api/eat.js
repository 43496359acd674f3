// Memory outside of the interpreter's heap, so that the kernel is the one who says stop.
const eaten = [];

module.exports = () => {
  for (;;) eaten.push(Buffer.alloc(64 * 1024 * 1024, 1));
};
