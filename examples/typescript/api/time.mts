import { greet } from '@lib/greet';

export function GET(request: Request): Response {
  const zone = new URL(request.url).searchParams.get('zone') ?? 'UTC';
  try {
    const time = new Intl.DateTimeFormat('en-GB', { timeZone: zone, timeStyle: 'short' }).format();
    return Response.json({ ...greet(zone), time });
  } catch {
    return Response.json({ error: `no such zone: ${zone}` }, { status: 400 });
  }
}
