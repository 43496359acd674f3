// All that JSX needs to become text.
declare global {
  namespace JSX {
    type Element = string;
    interface IntrinsicElements {
      [name: string]: Record<string, string | number>;
    }
  }
}

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

export const escape = (text: string) => text.replace(/[&<>"]/g, (character) => escapes[character] ?? character);

export function element(name: string, attributes: Record<string, string | number> | null, ...children: string[]): string {
  const written = Object.entries(attributes ?? {}).map(([key, value]) => ` ${key}="${escape(String(value))}"`);
  return `<${name}${written.join('')}>${children.join('')}</${name}>`;
}
