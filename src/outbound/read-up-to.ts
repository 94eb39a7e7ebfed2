/** Reads a body up to a size. What is beyond it is not read: leaving the loop destroys the connection. */
export async function readUpTo(body: AsyncIterable<Buffer>, limit: number) {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > limit) return { bytes: Buffer.concat(chunks).subarray(0, limit), truncated: true };
  }
  return { bytes: Buffer.concat(chunks), truncated: false };
}
