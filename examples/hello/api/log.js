// Both lines appear in `dockless logs URL`.
module.exports = (req, res) => {
  console.log('a line on stdout');
  console.error('a line on stderr');
  res.send('Two lines written: see dockless logs\n');
};
