-- A client shows its secret to come back. KEYS: session, nodes, meta.
-- ARGV: subject, node, milliseconds after which it is too late, milliseconds it is kept, channel of all nodes.
-- A client whose node is dead is gone since that was last heard of. A record of an era before this one may be older than
-- the last that was written.
local session = redis.call('HMGET', KEYS[1], 'generation', 'record', 'subject', 'node', 'gone', 'era')
if not session[1] or session[3] ~= ARGV[1] then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local since = tonumber(session[5])
if not since then
  local node = redis.call('HGET', KEYS[2], session[4])
  since = node and tonumber(string.match(node, '^%d+')) or 0
end
if now - since > tonumber(ARGV[3]) then return false end
-- A node that is cut off uses the numbers in between: what it keeps later is refused then.
local generation = (math.floor(tonumber(session[1]) / 256) + 1) * 256
redis.call('HSET', KEYS[1], 'generation', generation)
redis.call('HSET', KEYS[1], 'node', ARGV[2])
redis.call('HDEL', KEYS[1], 'gone')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local id = cjson.decode(session[2]).id
redis.call('PUBLISH', ARGV[5], cjson.encode({type = 'taken_over', id = id, generation = generation}))
return {generation, session[2], session[6] == redis.call('HGET', KEYS[3], 'token') and 1 or 0}
