-- Claims a session for a turn, takes slots, reads the session's newest messages and
-- appends others. ARGV: end of the session's keys, user, id, turn, node, lease, limit and
-- most bytes of what is read, title, max, id of the last message, the slots as in
-- slots.lua, and then of each message: expiry, time, record.
-- Returns what claim does, or 4 if no slot is free; the number of the first appended
-- message, 0 without one; and what history does.
local ending, id, slots = ARGV[2], ARGV[4], 13
if not slotsFree(slots) then return {4} end
local code = claim(ending, ARGV[5], ARGV[6], tonumber(ARGV[7]))
if code ~= 1 then return {code} end
takeSlots(slots)
local s, past = sessionOf(ending, ARGV[3]), {0}
if purge(s, id) > 0 then past = history(s, 0, 0, tonumber(ARGV[8]), tonumber(ARGV[9])) end
local answer, from = {code, 0}, slotsEnd(slots) + 1
if from < #ARGV then answer[2] = int(append(s, id, true, ARGV[10], tonumber(ARGV[11]), ARGV[12], from)) end
for _, v in ipairs(past) do answer[#answer + 1] = v end
return answer
