package openai

import (
	"errors"
	"regexp"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// The members that a request for a stream gets here.
const (
	streamOptions = "stream_options"
	streamMember  = "stream"
)

var (
	namesIncludeUsage = regexp.MustCompile(`include_?[uU]sage`)
	namesStream       = regexp.MustCompile(`(?i)\bstream(ing|ed)?\b`)
)

// blame marks the failure of a stream that the provider refuses because of a member
// added here. Some servers refuse with status 200, in the stream. preq may be nil.
func blame(err error, preq *provider.Request) error {
	if e, ok := errors.AsType[*provider.Error](err); ok && preq != nil && e.Added == "" {
		e.Added = refusedAddition(e, preq)
	}
	return err
}

// refusedAddition returns the member that the provider refuses and that only this
// package has put into the client's request, or an empty string.
func refusedAddition(e *provider.Error, preq *provider.Request) string {
	if e.Reason != provider.ReasonInvalid {
		return ""
	}
	m, _, err := splice.MembersOf(preq.Body)
	if err != nil {
		return ""
	}
	if addsOptions(m.StreamOptions, e) && !slices.Contains(preq.Omit, streamOptions) {
		return streamOptions
	}
	if m.Stream.Type != gjson.True && e.Mentions(namesStream) {
		return streamMember
	}
	return ""
}

// addsOptions reports whether a refusal is about stream_options, or that part of
// them which the client has not sent.
func addsOptions(sent gjson.Result, e *provider.Error) bool {
	if sent.IsObject() && len(sent.Map()) > 0 {
		return !sent.Get("include_usage").Exists() && e.Mentions(namesIncludeUsage)
	}
	return e.RefusesStreamOptions()
}
