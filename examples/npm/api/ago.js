// One small package, and a template that is read at run time: the analysis sees both.
const ms = require('ms');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const template = readFileSync(join(__dirname, '_templates', 'ago.txt'), 'utf8');

module.exports = (req, res) => {
  const time = ms(String(req.query.time ?? '2 days'));
  res.send(template.replace('%s', ms(time, { long: true })));
};
