-- Gives a charged request to another process, if the one that charged it is gone. Only one wins.
--
-- KEYS: request, marks
-- ARGV: from, instance, ttl of a mark in milliseconds
-- Answers 1 or 0.
local requestKey, marksKey = KEYS[1], KEYS[2]
local from, instance, markTtlMs = ARGV[1], ARGV[2], tonumber(ARGV[3])

local request = redis.call('GET', requestKey)
if not request then return 0 end
local owner, rest = string.match(request, '^([^|]*)(|.*)$')
if owner ~= from then return 0 end

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = string.match(redis.call('HGET', marksKey, 'mark:' .. from) or '', ':(%d+)$')
if seen and math.abs(nowMs - tonumber(seen)) <= markTtlMs then return 0 end

redis.call('SET', requestKey, instance .. rest, 'KEEPTTL')
return 1
