-- Housekeeping, by one node at a time: what dead nodes have left, and what is too old. KEYS: lock, meta, rooms, nodes, origins,
-- clock. ARGV: milliseconds between two times, prefix of what belongs to a node, milliseconds after which a node is dead,
-- milliseconds after which it is forgotten, milliseconds for which rooms are remembered.
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local nodes = redis.call('HGETALL', KEYS[4])
for i = 1, #nodes, 2 do
  local node, silent = nodes[i], now - tonumber(string.match(nodes[i + 1], '^%d+'))
  if silent > tonumber(ARGV[3]) then
    for _, room in ipairs(redis.call('ZRANGE', ARGV[2] .. node, 0, 199)) do
      redis.call('DEL', ARGV[2] .. node .. ':' .. room)
      redis.call('ZREM', ARGV[2] .. node, room)
    end
    if silent > tonumber(ARGV[4]) and redis.call('EXISTS', ARGV[2] .. node) == 0 then
      redis.call('HDEL', KEYS[4], node)
      redis.call('HDEL', KEYS[5], node)
    end
  end
end
-- Which number there was how long ago: rooms whose last event is older than the memory are forgotten, and what they had
-- counts as lost for whoever comes from before that.
local meta = redis.call('HMGET', KEYS[2], 'seq', 'floor', 'cursor')
local newest = redis.call('LINDEX', KEYS[6], -1)
if not newest or now - tonumber(string.match(newest, '^%d+')) >= 60000 then
  redis.call('RPUSH', KEYS[6], string.format('%.0f %s', now, meta[1] or '0'))
end
local floor = tonumber(meta[2] or '0')
while true do
  local oldest = redis.call('LINDEX', KEYS[6], 0)
  local at, seq = string.match(oldest, '^(%d+) (%d+)$')
  if now - tonumber(at) <= tonumber(ARGV[5]) then break end
  floor = math.max(floor, tonumber(seq))
  redis.call('LPOP', KEYS[6])
end
redis.call('HSET', KEYS[2], 'floor', string.format('%.0f', floor))
local page = redis.call('HSCAN', KEYS[3], meta[3] or '0', 'COUNT', 200)
redis.call('HSET', KEYS[2], 'cursor', page[1])
for i = 1, #page[2], 2 do
  local last = page[2][i] ~= '' and tonumber(string.match(page[2][i + 1], '^%d+'))
  if last and last <= floor then redis.call('HDEL', KEYS[3], page[2][i]) end
end
return 1
