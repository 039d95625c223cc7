-- One process announces up to when all its charges have an outcome, and that it lives, and looks at the store.
--
-- KEYS: marks
-- ARGV: instance, mark in milliseconds or ''
-- Answers {the time that its charges count from when they are sent after this answer, the generation or '', how often this
-- process had announced itself here before, the run of the store or ''}.
local marksKey = KEYS[1]
local instance, mark = ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
-- Redis' clock may be behind what it said before (another machine took over): a mark never goes back by that.
local from = math.max(nowMs, mark or 0)
local known = redis.call('HMGET', marksKey, 'generation', 'beat:' .. instance)
local beats = tonumber(string.match(known[2] or '0:0', '^(%d+):')) or 0
redis.call('HSET', marksKey,
  'mark:' .. instance, string.format('%.0f', mark or nowMs) .. ':' .. string.format('%.0f', nowMs),
  'beat:' .. instance, string.format('%.0f', beats + 1) .. ':' .. string.format('%.0f', nowMs))

local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
return {string.format('%.0f', from), known[1] or '', string.format('%.0f', beats), run}
