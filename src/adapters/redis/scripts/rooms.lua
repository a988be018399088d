-- Rooms with members on the nodes that are alive, by name. KEYS: nodes. ARGV: prefix of what belongs to a node, lowest name,
-- highest name, how many, milliseconds after which a node is dead. Answers a name and a count, some names several times.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local nodes, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #nodes, 2 do
  local seen = string.match(nodes[i + 1], '^%d+')
  if now - tonumber(seen) <= tonumber(ARGV[5]) then
    local names = redis.call('ZRANGEBYLEX', ARGV[1] .. nodes[i], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
    for _, name in ipairs(names) do
      out[#out + 1] = {name, redis.call('HLEN', ARGV[1] .. nodes[i] .. ':' .. name)}
    end
  end
end
return out
