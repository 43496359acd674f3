module.exports = (request, response) => {
  response.json({ hello: request.query.name ?? "nobody" });
};
