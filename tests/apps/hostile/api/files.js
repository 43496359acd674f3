// Tries one operation on each path of the request; says how each ended.
const fs = require('node:fs');

const OPERATIONS = {
  read: (file) => fs.readFileSync(file).length,
  list: (file) => fs.readdirSync(file),
  write: (file) => fs.writeFileSync(file, 'x'),
  remove: (file) => fs.rmSync(file, { recursive: true }),
  text: (file) => fs.readFileSync(file, 'utf8'),
};

module.exports = (req, res) => {
  const operation = OPERATIONS[req.query.do];
  const answer = {};
  for (const file of [].concat(req.query.path)) {
    try {
      answer[file] = operation(file) ?? 'done';
    } catch (error) {
      answer[file] = error.code;
    }
  }
  res.json(answer);
};
