"""Moves and settles as scripts: the owner is checked first, the copy is written before anything is removed (F6, semantics §2.3).

A script runs alone on its node: it happens wholly or not at all. A group's retries are a sorted set (member = entry id, score =
due in ms, of a leased one the end of its lease) and a hash with three fields each: `<id>` the copy, `count:<id>`, and `owner:<id>`
while it is leased. Times are the server's own.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A Lua script and its SHA-1, by which the server knows it."""

    text: str
    sha: str


def _script(body: str) -> Script:
    text = _LIBRARY + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_LIBRARY: Final = """
local function now_ms() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function owns(stream, group, owner, id)
  return #redis.call('XPENDING', stream, group, id, id, 1, owner) == 1
end
local function leases(hash, owner, id) return redis.call('HGET', hash, 'owner:' .. id) == owner end
local function forget(due, hash, id)
  redis.call('HDEL', hash, id, 'owner:' .. id, 'count:' .. id)
  return redis.call('ZREM', due, id)
end
local function drop(stream, id)
  for _, group in ipairs(redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'GROUPS', stream) or {}) do
    redis.call('XACK', stream, group[2], id) -- a deleted entry would stay in pending lists (S11)
  end
  return redis.call('XDEL', stream, id)
end
local function add(stream, from)
  local command = {'XADD', stream, '*'}
  for i = from, #ARGV do command[#command + 1] = ARGV[i] end
  return redis.call(unpack(command))
end
"""

ACK: Final = _script("""
-- stream | group owner id...  -> 1 or 0 (not ours any more) per id
local out = {}
for i = 3, #ARGV do
  out[i - 2] = owns(KEYS[1], ARGV[1], ARGV[2], ARGV[i]) and redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) or 0
end
return out
""")

BURY: Final = _script("""
-- stream target | group owner id field value...  -> new id, nil when not ours any more
if not owns(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return false end
local id = add(KEYS[2], 4)
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return id
""")

POSTPONE: Final = _script("""
-- stream due hash | group owner id after_ms count copy  -> 1, nil when not ours any more
if not owns(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return false end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[6], 'count:' .. ARGV[3], ARGV[5])
redis.call('HDEL', KEYS[3], 'owner:' .. ARGV[3])
redis.call('ZADD', KEYS[2], now_ms() + ARGV[4], ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 1
""")

LEASE: Final = _script("""
-- due hash | owner lease_ms limit  -> {{id, copy, count}...}, ms until the next is due (or -1)
local now, out = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  redis.call('ZADD', KEYS[1], now + ARGV[2], id)
  redis.call('HSET', KEYS[2], 'owner:' .. id, ARGV[1])
  out[#out + 1] = {id, redis.call('HGET', KEYS[2], id), redis.call('HINCRBY', KEYS[2], 'count:' .. id, 1)}
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {out, next[2] and math.max(tonumber(next[2]) - now, 0) or -1}
""")

RENEW: Final = _script("""
-- due hash | owner lease_ms id...  -> how many are still ours
local until_ms, kept = now_ms() + ARGV[2], 0
for i = 3, #ARGV do
  if leases(KEYS[2], ARGV[1], ARGV[i]) then kept = kept + 1 redis.call('ZADD', KEYS[1], until_ms, ARGV[i]) end
end
return kept
""")

RETRY_ACK: Final = _script("""
-- due hash | owner id...  -> 1 or 0 per id
local out = {}
for i = 2, #ARGV do
  out[i - 1] = leases(KEYS[2], ARGV[1], ARGV[i]) and forget(KEYS[1], KEYS[2], ARGV[i]) or 0
end
return out
""")

RETRY_BURY: Final = _script("""
-- due hash target | owner id field value...  -> new id, nil when not ours any more
if not leases(KEYS[2], ARGV[1], ARGV[2]) then return false end
local id = add(KEYS[3], 3)
forget(KEYS[1], KEYS[2], ARGV[2])
return id
""")

RETRY_POSTPONE: Final = _script("""
-- due hash | owner id after_ms copy  -> 1, nil when not ours any more
if not leases(KEYS[2], ARGV[1], ARGV[2]) then return false end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('HDEL', KEYS[2], 'owner:' .. ARGV[2])
redis.call('ZADD', KEYS[1], now_ms() + ARGV[3], ARGV[2])
return 1
""")

RETRY_GIVE_BACK: Final = _script("""
-- due hash | owner id...  -> how many others may have at once
local now, given = now_ms(), 0
for i = 2, #ARGV do
  if leases(KEYS[2], ARGV[1], ARGV[i]) then
    redis.call('HDEL', KEYS[2], 'owner:' .. ARGV[i])
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    given = given + 1
  end
end
return given
""")

LEAVE: Final = _script("""
-- stream | group consumer  -> deletes a consumer that holds nothing: with pending entries they would be lost (S12)
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
""")

MOVE: Final = _script("""
-- dlq target | id field value...  -> new id, nil when the letter is gone; the letter's id makes a repeat harmless
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return false end
if redis.call('EXISTS', KEYS[2]) == 0 then return redis.error_reply('NOTARGET no such stream') end
local id = add(KEYS[2], 2)
drop(KEYS[1], ARGV[1])
return id
""")

REMOVE: Final = _script("""
-- dlq | id  -> 1, 0 when it was gone
return drop(KEYS[1], ARGV[1])
""")

ENROLL: Final = _script("""
-- roster | name lease_ms  -> how many are registered
redis.call('ZADD', KEYS[1], now_ms() + ARGV[2], ARGV[1])
return redis.call('ZCARD', KEYS[1])
""")

UNENROLL: Final = _script("""
-- roster | name  -> how many others are there; those whose lease ran out are forgotten
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms())
return redis.call('ZCARD', KEYS[1])
""")
