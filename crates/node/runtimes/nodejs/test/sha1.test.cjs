'use strict';
const assert = require('assert');
const { createHash, randomBytes } = require('crypto');
const { test } = require('node:test');
const { sha1Base64 } = require('../sha1.cjs');

test('SHA-1 is that of crypto for every length around the borders of its blocks', () => {
  for (let length = 0; length < 300; length++) {
    const bytes = randomBytes(length);
    assert.strictEqual(sha1Base64(bytes), createHash('sha1').update(bytes).digest('base64'), `${length} bytes`);
  }
  for (const length of [16 * 1024, 16 * 1024 + 1, 100_000]) {
    const bytes = randomBytes(length);
    assert.strictEqual(sha1Base64(bytes), createHash('sha1').update(bytes).digest('base64'), `${length} bytes`);
  }
});
