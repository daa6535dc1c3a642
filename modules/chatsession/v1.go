package chatsession

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// maxMessage is the largest message of a chat completions request, in bytes. It
// always fits the store.
const maxMessage = 10 << 20

// maxChoices is how many choices of a chat completion are told apart.
const maxChoices = 1000

// resumes returns the turn that a request under /v1 asks for the rest of, and whether
// it does. Answers that end with their clients are not resumed.
func (h *Handler) resumes(r *http.Request) (turn string, ok bool) {
	if h.OnDisconnect != disconnectContinue || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", false
	}
	return sharedanswer.TurnOf(record.Path(r))
}

// sessionOf returns the session in the header of a chat completions request.
func sessionOf(header http.Header) (string, error) {
	values := header.Values(headerSession)
	if len(values) != 1 {
		return "", apierror.InvalidRequest(headerSession, "want this header once")
	}
	id, ok := canonicalID(values[0])
	if !ok {
		return "", apierror.InvalidRequest(headerSession, "want a UUID")
	}
	return id, nil
}

// sentCompletion is what this handler reads of a client's chat completions
// request.
type sentCompletion struct {
	body   []byte
	model  string
	n      int // choices
	stream bool

	// messages are those to store: all but system messages, which apply to
	// this request alone, unless keepsSystem says that those behind the first
	// other message belong to the conversation. system says that the request
	// begins with one.
	messages    []*store.Message
	system      bool
	keepsSystem bool

	places []int // of messages, among those of the body; nowhere for those that it is without

	wordless []door.Wordless // that are still to be added
	member   string          // of a message, for what it was made of

	// translated says that the body was of another API, whose members dropped are left
	// out of it.
	translated bool
	dropped    []string

	flat bool // its tools were in the shape of Responses

	// insert is the offset in the body where the history goes: behind the
	// leading system messages. between says that messages follow there.
	insert  int
	between bool

	opening *opening // of a response that is kept; else nil
}

// complete serves a POST under /v1 with a session.
func (h *Handler) complete(x *chat.Exchange, next caddyhttp.Handler) error {
	c, err := h.converses(x, next)
	if err != nil {
		return err
	}
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if key == "" {
		return c.turn(x)
	}
	return h.once(x, c.keyed(x, key), c.gates, c.turn)
}

// converse takes a turn: it puts the history in front of the sent messages, and
// stores the answer on its way to the client.
func (h *Handler) converse(x *chat.Exchange, c *talk, next caddyhttp.Handler) error {
	t, req := h.newTurn(x), c.req
	t.call = c.call
	if t.kept = c.kept; c.kept != nil {
		t.id = c.turnID
	}
	t.gates, t.claim = c.gates, cmp.Or(t.claim, c.claim)
	t.after, t.fresh, t.limits = c.after, c.kept != nil && c.kept.Alone, c.limits()
	t.asked, t.choices, t.answersTools = req.model, req.n, req.answersTools()
	past, end, err := t.begin(req.stream, req.messages...)
	if err != nil {
		return err
	}
	defer end()
	if n := len(t.stored); n > 0 && c.kept != nil {
		c.kept.Asked = t.stored[n-1].ID
	}
	if c.begun != nil {
		c.begun()
	}

	before, err := h.context(x, c, past)
	if err != nil {
		t.retract()
		return err
	}
	x.Rec.Beside = c.beside(before)
	t.tokensIn = estimate(slices.Concat(before, req.messages))

	w := newV1Writer(t, t.newOutput(false))
	if x.Rec.Beside != nil {
		w.a.assembler = c.call.Assembler()
	}
	defer w.stream.Close()
	return w.end(serveNext(next, w, t.request(req.with(before))))
}

// context returns the messages that go before the sent ones.
func (h *Handler) context(x *chat.Exchange, c *talk, past []*store.Message) ([]*store.Message, error) {
	req, limits := c.req, c.limits()
	before, all := limits.remembered(past, req.messages, h.maxCompletion()-int64(len(req.body)))
	if !all && limits == wholeContext {
		return nil, errContextTooLarge()
	}
	if req.system || len(before) > 0 && before[0].Role == roleSystem {
		return before, nil
	}
	return append(h.system(x), before...), nil
}

// parseCompletion parses a body, one JSON object. It checks only what is stored;
// the rest is for the next handler to check.
func parseCompletion(body []byte) (*sentCompletion, error) {
	return parseInto(new(sentCompletion), body)
}

// parseCall parses the body that a request of another API has become, with its opening if
// it is a response that is kept.
func parseCall(body []byte, call door.Call, o *opening) (*sentCompletion, error) {
	origins := call.Origins()
	req := &sentCompletion{opening: o, wordless: origins.Wordless, member: origins.Member, keepsSystem: true}
	req, err := parseInto(req, body)
	if err != nil {
		return nil, err
	}
	return req, req.keepOrigins(origins)
}

func parseInto(req *sentCompletion, body []byte) (*sentCompletion, error) {
	req.body = body
	o := req.opening
	if o != nil && o.said != "" {
		req.messages, req.places = append(req.messages, newMessage(roleSystem, o.said)), append(req.places, 0)
	}
	var messages, input, tools gjson.Result
	var err error
	gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "messages":
			messages = v
		case "input":
			input = v
		case "tools":
			tools = v
		case "model":
			req.model = v.Str
			if v.Type != gjson.Null && !chat.ValidModel(v.Str) {
				err = apierror.InvalidRequest("model", chat.WantModel)
			}
		case "n":
			req.n = int(max(0, min(v.Num, maxChoices)))
		case "stream":
			req.stream = v.Type == gjson.True
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	if responses.Shaped(messages, input, tools) {
		if body, req.dropped, err = responses.Completion(body); err != nil {
			return nil, apierror.FromProvider(err)
		}
		dropped := req.dropped
		if req, err = parseCompletion(body); err == nil {
			req.dropped, req.translated, req.flat = dropped, !messages.Exists(), true
		}
		return req, err
	}
	if !messages.IsArray() || len(messages.Array()) == 0 {
		return nil, apierror.InvalidRequest("messages", "required, a list of at least one message")
	}
	req.insert = messages.Index + len(messages.Raw) - 1 // the closing bracket
	n := 0
	messages.ForEach(func(_, m gjson.Result) bool {
		err = req.add(m, n)
		n++
		return err == nil
	})
	if err == nil {
		err = req.addWordless(n)
	}
	return req, err
}

// isBehindWordless reports whether the body is without a message in front of a place.
func (c *sentCompletion) isBehindWordless(place int) bool {
	return len(c.wordless) > 0 && c.wordless[0].Before <= place
}

// addWordless adds the messages in front of a place that the body is without.
func (c *sentCompletion) addWordless(place int) error {
	for c.isBehindWordless(place) {
		w := c.wordless[0]
		c.wordless = c.wordless[1:]
		m := newMessage(w.Role, "")
		raw, err := sjson.SetRawBytes(appendWire(nil, m), c.member, w.Made)
		if err != nil {
			return fmt.Errorf("keeping a message without words: %w", err)
		}
		if m.Raw = raw; len(raw) <= maxMessage {
			c.messages, c.places = append(c.messages, m), append(c.places, nowhere)
		}
	}
	return nil
}

// nowhere is the place of a message that the body is without.
const nowhere = -1

// add adds the message at a place.
func (c *sentCompletion) add(m gjson.Result, place int) error {
	path := fmt.Sprintf("messages.%d", place)
	if !m.IsObject() {
		return apierror.InvalidRequest(path, "want an object")
	}
	if len(m.Raw) > maxMessage {
		return apierror.FieldTooLarge(path, maxMessage)
	}
	switch role := m.Get("role"); {
	case role.Type != gjson.String || role.Str == "":
		return apierror.InvalidRequest(path+".role", "want system, developer, user, assistant or tool")
	case role.Str == roleSystem || role.Str == "developer":
		behind := c.between || c.opening == nil && c.isBehindWordless(place)
		c.system = c.system || !behind
		if !c.keepsSystem || !behind {
			return nil
		}
	}
	if !c.between {
		c.insert, c.between = m.Index, true
	}
	if err := c.addWordless(place); err != nil {
		return err
	}
	msg, err := fromWire(m)
	if err != nil {
		return apierror.InvalidJSON(err)
	}
	c.messages, c.places = append(c.messages, msg), append(c.places, place)
	return nil
}

// answersTools reports whether the last message with words is the result of a tool.
func (c *sentCompletion) answersTools() bool {
	for _, m := range slices.Backward(c.messages) {
		if isHeard(m) {
			return m.Role == roleTool || m.Role == "function"
		}
	}
	return false
}

// with returns the body with messages inserted. All other bytes stay the same.
func (c *sentCompletion) with(msgs []*store.Message) []byte {
	if msgs = withWords(msgs); len(msgs) == 0 {
		return c.body
	}
	if c.opening != nil {
		return c.opened(msgs)
	}
	body := slices.Clone(c.body[:c.insert])
	for _, m := range msgs {
		if c.between {
			body = append(appendWire(body, m), ',')
		} else {
			body = appendWire(append(body, ','), m)
		}
	}
	return append(body, c.body[c.insert:]...)
}
