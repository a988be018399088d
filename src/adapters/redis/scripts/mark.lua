-- Hands a mark out to its node. KEYS: meta. ARGV: token, channel, number of the mark.
local meta = redis.call('HMGET', KEYS[1], 'token', 'seq')
if meta[1] ~= ARGV[1] then return redis.error_reply('REPLACED another life or era') end
return redis.call('PUBLISH', ARGV[2], ARGV[3] .. ' ' .. meta[2])
