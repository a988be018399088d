-- A client's connection is over. KEYS: session. ARGV: generation, whether for good (1 or 0), milliseconds it is kept.
local session = redis.call('HMGET', KEYS[1], 'generation', 'gone')
if session[1] ~= ARGV[1] or session[2] then return 0 end
if ARGV[2] == '1' then return redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'gone', string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
