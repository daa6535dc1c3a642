package provider

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// ErrorOf returns a provider's error in raw, in any of the formats found in the
// wild: {"error":{...}}, {"error":"text"}, those in a list,
// {"object":"error",...}, {"errors":[...]}, {"error":[...]}, {"detail":...} and
// {"message":...}. ok is false if raw holds no error.
func ErrorOf(raw []byte) (message, code, typ string, ok bool) {
	e, ok := findError(raw)
	return e.message, e.code, e.typ, ok
}

// NewError returns the failure that a provider reported in raw. The status is 0
// for an error within a stream, which may name a status itself.
func NewError(status int, raw []byte) *Error {
	e, ok := findError(raw)
	if status == 0 {
		status = e.status
	}
	if !ok {
		e.text = plainText(raw)
	}
	reason := reasonOf(status, e)
	return &Error{
		Reason:     reason,
		Overloaded: reason == ReasonUnavailable && e.overloaded(status),
		Status:     status,
		Message:    e.message,
		Code:       e.ownCode(),
		Param:      e.param,
		RetryAfter: e.retryAfter,
		told:       strings.Join([]string{e.message, e.param, e.text}, "\n"),
	}
}

// BadAnswer returns the failure for an answer with status 200 that cannot be
// understood.
func BadAnswer(err error) *Error {
	return &Error{Reason: ReasonBadAnswer, Status: http.StatusOK, Err: err}
}

// TooLongError says that an answer exceeds a limit of this server.
type TooLongError struct {
	What string // the answer, or a part of it
	Most int    // bytes
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("%s is longer than %d MiB", e.What, e.Most>>20)
}

// TooLong returns the failure of an answer that exceeds a limit of this server.
func TooLong(what string, most int) *Error { return BadAnswer(&TooLongError{what, most}) }

// reported is an error in the provider's own words.
type reported struct {
	message, code, typ string
	text               string // in place of an error in JSON
	param              string // the member of the request at fault
	status             int
	retryAfter         time.Duration
}

// plainText returns what a server says without JSON, as those written in Rust do.
// It tells what the failure is, but is not passed on.
func plainText(raw []byte) string {
	text := strings.TrimSpace(string(raw[:min(len(raw), maxJudged)]))
	if strings.HasPrefix(text, "<") || !utf8.ValidString(text) {
		return ""
	}
	return text
}

// ownCode returns the code, unless it only repeats the HTTP status. Google then
// has a name for it beside.
func (e reported) ownCode() string {
	if !isStatus(e.code) {
		return e.code
	}
	if e.typ == strings.ToUpper(e.typ) && !isStatus(e.typ) {
		return e.typ
	}
	return ""
}

func isStatus(code string) bool {
	n, err := strconv.Atoi(code)
	return code == "" || err == nil && n >= 400 && n <= 599
}

// begunWith is the member of the request that a message of Anthropic's begins
// with: "max_tokens: Field required".
var begunWith = regexp.MustCompile(`^([a-z_]+(?:\.[a-z0-9_]+)*): `)

func findError(raw []byte) (reported, bool) {
	root, ok := parseObject(raw)
	if !ok && root.IsArray() {
		root = root.Get("0")
		ok = root.IsObject()
	}
	if !ok {
		return reported{}, false
	}
	e := root.Get("error")
	switch {
	case e.IsObject() && e.Raw != "{}":
		r := readError(e)
		if place := begunWith.FindStringSubmatch(r.message); place != nil && root.Get("type").Str == "error" {
			r.param = place[1] // Anthropic has no member for it
		}
		return r, true
	case e.Type == gjson.String && e.Str != "":
		r := readError(root)
		if r.message == "" {
			r.message = e.Str
		}
		return r, true
	case e.Type == gjson.True, root.Get("object").Str == "error", root.Get("type").Str == "error":
		return readError(root), true
	}
	for _, name := range [...]string{"errors.0", "error.0"} {
		first := root.Get(name)
		switch {
		case first.Type == gjson.String:
			return reported{message: first.Str}, true
		case first.Exists():
			return readError(first), true
		}
	}
	// A bare message is an error only if nothing else marks it as an answer.
	if root.Get("choices").Exists() || strings.HasPrefix(root.Get("object").Str, "chat.") {
		return reported{}, false
	}
	r := readError(root)
	return r, r.message != ""
}

// readError returns the error in an object, whatever the provider calls its
// members.
func readError(v gjson.Result) reported {
	r := reported{
		message: firstText(v, "message", "detail", "msg", "detail.message", "error_description"),
		code:    label(v.Get("code")),
		typ:     label(v.Get("type")),
		param:   firstText(v, "param", "details.#(fieldViolations).fieldViolations.0.field"),
	}
	if list := v.Get("detail"); r.message == "" && list.IsArray() {
		r.message, r.param = readFaults(list)
	}
	if typ := v.Get("__type").Str; r.code == "" && typ != "" {
		r.code = typ[strings.LastIndexByte(typ, '#')+1:] // Amazon's, with a namespace in front
	}
	// Azure puts the precise reason in innererror.
	for _, name := range [...]string{"innererror.code", "status"} {
		if r.typ == "" {
			r.typ = label(v.Get(name))
		}
	}
	for _, name := range [...]string{"status_code", "code", "status", "http_code"} {
		n, err := strconv.Atoi(label(v.Get(name)))
		if err == nil && n >= 400 && n <= 599 {
			r.status = n
			break
		}
	}
	// Google's code repeats the HTTP status; the reason is in the details.
	v.Get("details").ForEach(func(_, d gjson.Result) bool {
		if reason := d.Get("reason"); reason.Type == gjson.String && reason.Str != "" {
			r.code = reason.Str
		}
		if delay, err := time.ParseDuration(d.Get("retryDelay").Str); err == nil {
			r.retryAfter = bounded(float64(delay))
		}
		return true
	})
	// OpenRouter only reports that the provider failed, and has the provider's
	// own message here.
	if inner := v.Get("metadata.raw"); inner.Type == gjson.String && inner.Str != "" {
		said := inner.Str
		if e, ok := findError([]byte(said)); ok && e.message != "" {
			said = e.message
		}
		r.message += ": " + said
	}
	return r
}

// maxFaults is how many members a message names.
const maxFaults = 8

// readFaults returns the message of a list of faults, as servers written with
// pydantic send it, and the first member that it names.
func readFaults(list gjson.Result) (message, param string) {
	var all []string
	list.ForEach(func(_, fault gjson.Result) bool {
		said := fault.Get("msg").String()
		if at := placeOf(fault.Get("loc")); at != "" {
			if param == "" {
				param = at
			}
			said = at + ": " + said
		}
		if said != "" {
			all = append(all, said)
		}
		return len(all) < maxFaults
	})
	return strings.Join(all, "; "), param
}

// placeOf returns a place in the request's body, such as messages.0.content.
func placeOf(loc gjson.Result) string {
	var names []string
	for i, name := range loc.Array() {
		if i > 0 || name.Str != "body" {
			names = append(names, name.String())
		}
	}
	return strings.Join(names, ".")
}

func firstText(v gjson.Result, paths ...string) string {
	for _, p := range paths {
		if s := v.Get(p); s.Type == gjson.String && s.Str != "" {
			return s.Str
		}
	}
	return ""
}

// label returns a code or type as a string. It may be a number in JSON.
func label(v gjson.Result) string {
	if v.Type != gjson.String && v.Type != gjson.Number {
		return ""
	}
	return v.String()
}

// reasonOf classifies a reported failure.
func reasonOf(status int, e reported) Reason {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ReasonCredentials
	case status == http.StatusNotFound && e.param == "input":
		return ReasonInvalid // it refers to what is not there; the model is
	case status == http.StatusNotFound:
		return ReasonModel
	case status == http.StatusTooManyRequests:
		return ReasonRateLimited
	case status == http.StatusRequestTimeout, status == http.StatusConflict:
		return ReasonUnavailable
	case status >= 500 && status <= 599:
		return ReasonUnavailable
	case status >= 400 && status <= 499:
		switch {
		case e.badKey():
			return ReasonCredentials
		case e.tooLong():
			return ReasonContextLength
		case e.filtered():
			return ReasonContentFiltered
		case e.unpaid():
			return ReasonCredentials
		}
		return ReasonInvalid
	case status == 0:
		return e.reason()
	}
	return ReasonBadAnswer
}

// reason classifies an error without a status, by its code, type and message.
func (e reported) reason() Reason {
	if e.badKey() {
		return ReasonCredentials
	}
	if e.tooLong() {
		return ReasonContextLength
	}
	if e.filtered() {
		return ReasonContentFiltered
	}
	if e.unpaid() {
		return ReasonCredentials
	}
	for _, s := range [...]string{e.code, e.typ} {
		switch strings.ToLower(s) {
		case "rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "too_many_requests", "resource_exhausted", "throttling_error":
			return ReasonRateLimited
		case "invalid_api_key", "authentication_error", "permission_error", "permission_denied", "unauthenticated":
			return ReasonCredentials
		case "model_not_found", "not_found_error", "not_found":
			return ReasonModel
		}
	}
	for _, s := range [...]string{e.code, e.typ} {
		switch strings.ToLower(s) {
		case "server_error", "api_error", "internal_error", "internal_server_error", "internalservererror", "overloaded_error", "unavailable":
			return ReasonUnavailable
		case "invalid_request_error", "invalid_argument", "badrequesterror", "bad_request":
			return ReasonInvalid
		}
	}
	if e.badInput() {
		return ReasonInvalid
	}
	return ReasonUnavailable
}

// statusOverloaded is Anthropic's.
const statusOverloaded = 529

// overloaded reports whether a provider that is unavailable has too much to do. A status
// below 500 says something else, and so does one of a proxy that does not reach it.
func (e reported) overloaded(status int) bool {
	switch status {
	case http.StatusServiceUnavailable, statusOverloaded:
		return true
	case 0, http.StatusInternalServerError:
	default:
		return false
	}
	for _, s := range [...]string{e.code, e.typ} {
		switch strings.ToLower(s) {
		case "overloaded_error", "overloaded", "engine_overloaded_error", "server_is_overloaded", "slow_down",
			"service_unavailable", "unavailable":
			return true
		}
	}
	return false
}

// badInput reports whether a code of OpenAI's Responses is about the input, which is at
// fault at any time and any target.
func (e reported) badInput() bool {
	switch e.code {
	case "empty_image_file", "failed_to_download_image", "unsupported_image_media_type":
		return true
	}
	return strings.HasPrefix(e.code, "invalid_") || strings.HasPrefix(e.code, "image_")
}

// badKey reports whether the key was refused, which Google does with status 400.
func (e reported) badKey() bool {
	return e.code == "API_KEY_INVALID" || e.code == "API_KEY_EXPIRED"
}

// filtered reports whether the request was refused because of its content.
func (e reported) filtered() bool {
	for _, s := range [...]string{e.code, e.typ} {
		switch strings.ToLower(s) {
		case "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "content_filtered",
			"moderation_blocked", "data_inspection_failed", "sensitive_content", "prohibited_content",
			"bio_policy", "cyber_policy", "image_content_policy_violation":
			return true
		}
	}
	return containsAny(e.message,
		"content management policy", "content policy", "content_policy", "content filter",
		"responsible ai", "responsibleai", "safety system", "usage policies", "usage policy", "inappropriate content",
		"blocked due to security configurations", "blocked due to dlp policy")
}

// unpaid reports whether the operator's account lacks credit, which some
// providers report as a bad request.
func (e reported) unpaid() bool {
	return e.typ == "billing_error" || containsAny(e.message, "credit balance is too low")
}

func containsAny(s string, words ...string) bool {
	s = strings.ToLower(s)
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
