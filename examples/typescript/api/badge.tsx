import type { VercelRequest, VercelResponse } from '@vercel/node';
import { element, escape } from '@lib/element';

export default function badge({ query }: VercelRequest, response: VercelResponse) {
  const text = String(query.text ?? 'ok').slice(0, 20);
  const width = 16 + text.length * 8;
  response.setHeader('content-type', 'image/svg+xml');
  response.send(
    <svg xmlns="http://www.w3.org/2000/svg" width={width} height={20}>
      <rect width={width} height={20} rx={4} fill="#0a7" />
      <text x={8} y={14} font-family="monospace" font-size={13} fill="#fff">
        {escape(text)}
      </text>
    </svg>,
  );
}
