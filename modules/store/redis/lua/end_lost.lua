-- Ends a turn whose node is gone, and appends messages to its session. ARGV: end of the
-- session's keys, user, id, turn, for how long the turn is kept, number of events, max,
-- id of the last message, then of each event: number, kind, data, and then of each
-- message: expiry, time, record.
-- Returns whether this call ended it.
local ending, t = ARGV[2], read(ARGV[2])
if not t or t.id ~= ARGV[5] or not t.lost then return 0 end
if t.gone then
  forget(ending, t.id)
  return 0
end
local messages = 10 + 3 * tonumber(ARGV[7])
if messages < #ARGV then
  append(sessionOf(ending, ARGV[3]), ARGV[4], false, '', tonumber(ARGV[8]), ARGV[9], messages)
end
publish(ending, t.id, 0, tonumber(ARGV[6]), 10, messages - 1)
return 1
