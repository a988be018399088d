-- A connection is in some rooms of its node. KEYS: rooms of the node, then the members of each room there.
-- ARGV: connection, generation, row, then a name for each room.
for i = 2, #KEYS do
  local row = redis.call('HGET', KEYS[i], ARGV[1])
  if not row or tonumber(string.match(row, '^%d+')) <= tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[i], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
  end
  redis.call('ZADD', KEYS[1], 0, ARGV[2 + i])
end
return 1
