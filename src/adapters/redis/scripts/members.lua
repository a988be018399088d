-- The members of a room on the nodes that are alive. KEYS: nodes. ARGV: prefix of what belongs to a node, room, milliseconds
-- after which a node is dead. Answers node, connection and row of each.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local nodes, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #nodes, 2 do
  local seen, card = string.match(nodes[i + 1], '^(%d+) (.*)$')
  if now - tonumber(seen) <= tonumber(ARGV[3]) then
    local rows = redis.call('HGETALL', ARGV[1] .. nodes[i] .. ':' .. ARGV[2])
    for j = 1, #rows, 2 do out[#out + 1] = {card, rows[j], rows[j + 1]} end
  end
end
return out
