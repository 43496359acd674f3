// The smallest server around the handler: what a person would put into an image.
require('node:http').createServer(require('./date.js')).listen(process.env.PORT);
