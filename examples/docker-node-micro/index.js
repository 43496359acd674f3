const os = require('node:os');

let requests = 0;

// Every instance counts for itself: its memory lives as long as it does.
module.exports = async (request) => {
  requests += 1;
  return { hello: request.url, instance: os.hostname(), requests, at: new Date() };
};
