-- Appends messages. ARGV: end of the session's keys, user, id, create, title, max, id
-- of the last message, turn, and then of each message: expiry, time, record. If a turn
-- is named, it has to run.
-- Returns the number of the first one, or false without a session.
local ending = ARGV[2]
if ARGV[9] ~= '' then
  local t = read(ending)
  if not t or t.id ~= ARGV[9] or not t.running or t.gone then return false end
end
local s = sessionOf(ending, ARGV[3])
local start = append(s, ARGV[4], ARGV[5] == '1', ARGV[6], tonumber(ARGV[7]), ARGV[8], 10)
return start and int(start)
