/**
 * What is in a document that keeps JSON as text? What is no JSON comes out as it is: its owner refuses it, and says which one
 * it is. A store that threw would hide every other document of the same list.
 */
export function storedJson(text: unknown): unknown {
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
