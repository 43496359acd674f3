module.exports = (request, response) => {
  response.end(new Date().toISOString());
};
