'use strict';
// SHA-1 of the small bodies that most answers have (FIPS 180-4, section 6.1). Node's `crypto` would be loaded into every
// instance for this alone, at 0.4 MB; it is loaded when a body is large enough that its speed counts.

const LARGE = 16 * 1024;

const INITIAL = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
const state = new Int32Array(5);
const schedule = new Int32Array(80);

function sha1Base64(bytes) {
  return bytes.length > LARGE ? require('crypto').createHash('sha1').update(bytes).digest('base64') : small(bytes);
}

function small(bytes) {
  // The message, a one bit, zeros, and the length in bits as 64-bit number, in blocks of 64 bytes.
  const padded = Buffer.alloc(Math.ceil((bytes.length + 9) / 64) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  padded.writeUInt32BE(bytes.length * 8, padded.length - 4);
  state.set(INITIAL);
  for (let offset = 0; offset < padded.length; offset += 64) addBlock(padded, offset);
  const digest = Buffer.allocUnsafe(20);
  for (let index = 0; index < 5; index++) digest.writeInt32BE(state[index], index * 4);
  return digest.toString('base64');
}

function addBlock(padded, offset) {
  for (let t = 0; t < 16; t++) schedule[t] = padded.readInt32BE(offset + t * 4);
  for (let t = 16; t < 80; t++) {
    schedule[t] = rotated(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1);
  }
  // Plain variables: arrays made and taken apart here would be garbage enough for a collection in every instance.
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  for (let t = 0; t < 80; t++) {
    const next = (rotated(a, 5) + mixed(t, b, c, d) + e + schedule[t]) | 0;
    e = d;
    d = c;
    c = rotated(b, 30);
    b = a;
    a = next;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

// The function and the constant of a round.
function mixed(t, b, c, d) {
  if (t < 20) return (((b & c) | (~b & d)) + 0x5a827999) | 0;
  if (t < 40) return ((b ^ c ^ d) + 0x6ed9eba1) | 0;
  if (t < 60) return (((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc) | 0;
  return ((b ^ c ^ d) + 0xca62c1d6) | 0;
}

function rotated(word, bits) {
  return (word << bits) | (word >>> (32 - bits));
}

module.exports = { sha1Base64 };
