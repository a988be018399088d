-- Nobody of a node is anywhere, in at most so many of its rooms. KEYS: rooms of the node. ARGV: prefix of the members of its
-- rooms, how many. Answers how many rooms are left.
for _, room in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  redis.call('DEL', ARGV[1] .. room)
  redis.call('ZREM', KEYS[1], room)
end
return redis.call('ZCARD', KEYS[1])
