-- One process announces up to when all its charges have an outcome, and that it lives.
--
-- KEYS: marks
-- ARGV: instance, mark in milliseconds or ''
-- Answers the time that its charges count from when they are sent after this answer.
local marksKey = KEYS[1]
local instance, mark = ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
-- Redis' clock may be behind what it said before (another machine took over): a mark never goes back by that.
local from = math.max(nowMs, mark or 0)
redis.call('HSET', marksKey, 'mark:' .. instance,
  string.format('%.0f', mark or nowMs) .. ':' .. string.format('%.0f', nowMs))
return string.format('%.0f', from)
