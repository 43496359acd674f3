export interface Greeting {
  text: string;
  letters: number;
}

export function greet(name: string): Greeting {
  if (name.length > 40) throw new RangeError(`${name.length} letters are no name`);
  return { text: `Hello, ${name}!`, letters: name.length };
}
