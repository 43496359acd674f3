export function GET(request) {
  return new Response(`${request.method} ${new URL(request.url).pathname}`);
}
