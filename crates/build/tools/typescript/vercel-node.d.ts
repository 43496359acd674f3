// Types of the helpers, for projects that import them and have no package with them installed.
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface VercelRequest extends IncomingMessage {
  query: Partial<Record<string, string | string[]>>;
  cookies: Partial<Record<string, string>>;
  body: any;
}

export interface VercelResponse extends ServerResponse {
  send(body: any): VercelResponse;
  json(body: any): VercelResponse;
  status(code: number): VercelResponse;
  redirect(url: string): VercelResponse;
  redirect(status: number, url: string): VercelResponse;
}

export type VercelApiHandler = (request: VercelRequest, response: VercelResponse) => unknown;
export type NowRequest = VercelRequest;
export type NowResponse = VercelResponse;
export type NowApiHandler = VercelApiHandler;
