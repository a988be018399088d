-- Writes down where a client is, unless it has come back since. KEYS: session, meta.
-- ARGV: generation, record, subject, node, milliseconds it is kept.
local generation = redis.call('HGET', KEYS[1], 'generation')
if generation and tonumber(generation) > tonumber(ARGV[1]) then return 0 end
local era = redis.call('HGET', KEYS[2], 'token') or ''
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'record', ARGV[2], 'subject', ARGV[3], 'node', ARGV[4], 'era', era)
redis.call('HDEL', KEYS[1], 'gone')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
