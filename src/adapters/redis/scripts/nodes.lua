-- The nodes: each with the milliseconds since it was heard of, and how it describes itself. KEYS: nodes.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local all, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local seen, card = string.match(all[i + 1], '^(%d+) (.*)$')
  out[#out + 1] = {all[i], string.format('%.0f', math.max(0, now - tonumber(seen))), card}
end
return out
