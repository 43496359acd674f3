// An Express application, unchanged: it is required from node_modules, which the lock file describes.
const express = require('express');

const app = express();

app.get('/api/hello', (req, res) => {
  res.json({ hello: req.query.name ?? 'world', express: require('express/package.json').version });
});

module.exports = app;
