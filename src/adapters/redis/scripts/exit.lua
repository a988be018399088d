-- It no longer is, unless another has taken its place. KEYS: as for entering. ARGV: connection, generation, then the names.
for i = 2, #KEYS do
  local row = redis.call('HGET', KEYS[i], ARGV[1])
  if row and string.match(row, '^%d+') == ARGV[2] then redis.call('HDEL', KEYS[i], ARGV[1]) end
  if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1 + i]) end
end
return 1
