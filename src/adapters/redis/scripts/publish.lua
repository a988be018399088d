-- Numbers an event, keeps it, and hands it out.
-- KEYS: meta, rooms, origins, the publisher's id (or meta), then a stream a room.
-- ARGV: token, node, count, count of the event that the node has sent before over this link (0: none), events a room keeps,
-- milliseconds they are kept, milliseconds an id is kept (0: it was not chosen), digest, body, then a channel and a name for
-- each room.
local meta = redis.call('HMGET', KEYS[1], 'token', 'floor')
if meta[1] ~= ARGV[1] then return redis.error_reply('REPLACED another life or era') end
local sent = redis.call('HGET', KEYS[3], ARGV[2])
sent = sent and tonumber(string.match(sent, '^%d+')) or 0
if sent >= tonumber(ARGV[3]) then return {'already'} end
-- The one before failed: were this one accepted, that one would be taken for accepted when it is sent again.
if sent < tonumber(ARGV[4]) then return redis.error_reply('REPLACED the event before was not accepted') end
if ARGV[7] ~= '0' then
  local known = redis.call('GET', KEYS[4])
  if known then
    redis.call('HSET', KEYS[3], ARGV[2], ARGV[3] .. '.' .. (redis.call('HGET', KEYS[1], 'seq') or '0'))
    local digest, offsets = string.match(known, '^(%S+) (.*)$')
    if digest ~= ARGV[8] then return {'reused'} end
    return {'repeated', offsets}
  end
end
local number = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1))
local rooms = #KEYS - 4
local names = {}
for i = 1, rooms do names[i] = ARGV[9 + 2 * i] end
local known = redis.call('HMGET', KEYS[2], '', unpack(names))
local floor = meta[2] or '0'
if not known[1] then
  -- The rooms were evicted: what they had before is not known.
  floor = string.format('%.0f', tonumber(number) - 1)
  redis.call('HSET', KEYS[1], 'floor', floor)
  redis.call('HSET', KEYS[2], '', '1')
end
local places, offsets, prevs, now = {}, {}, {}, {}
for i = 1, rooms do
  local prev, offset = floor, 1
  if known[i + 1] then
    local last, count = string.match(known[i + 1], '^(%d+)%.(%d+)$')
    prev, offset = last, tonumber(count) + 1
  end
  offsets[i] = string.format('%.0f', offset)
  prevs[i] = prev
  places[i] = offsets[i] .. '.' .. prev
  now[2 * i - 1] = names[i]
  now[2 * i] = number .. '.' .. offsets[i]
end
local entry = number .. '\n' .. table.concat(places, ',') .. '\n' .. ARGV[9]
redis.call('HSET', KEYS[2], unpack(now))
for i = 1, rooms do
  redis.call('XADD', KEYS[4 + i], 'MAXLEN', ARGV[5], number .. '-0', 'p', prevs[i], 'e', entry)
  redis.call('PEXPIRE', KEYS[4 + i], ARGV[6])
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3] .. '.' .. number)
if ARGV[7] ~= '0' then
  redis.call('SET', KEYS[4], ARGV[8] .. ' ' .. table.concat(offsets, ','), 'PX', ARGV[7])
end
for i = 1, rooms do redis.call('PUBLISH', ARGV[8 + 2 * i], entry) end
return {'new', number, unpack(offsets)}
