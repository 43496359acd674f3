import type { VercelRequest, VercelResponse } from '@vercel/node';
import { greet, type Greeting } from '@lib/greet';

export default function handler(request: VercelRequest, response: VercelResponse) {
  const { name } = request.query;
  const greeting: Greeting = greet(typeof name === 'string' ? name : 'world');
  response.json(greeting);
}
