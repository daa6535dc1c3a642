package tenantresolve

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/jwt"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// token is a JWT of a request.
type token struct {
	header string
	tenant string // empty for a token that names none
	user   string
	err    error // why it is refused; nil for a valid token
}

// valid reports whether there is a token and it is valid.
func (t *token) valid() bool { return t != nil && t.err == nil }

// proves reports whether the token lets a request into the tenant of a claim.
// One that names no tenant only does where the configuration has named it: what
// the client names needs proof.
func (t *token) proves(c claim) bool {
	if !t.valid() {
		return false
	}
	if t.tenant == "" {
		return c.source == "" || c.source == record.SourceJWT
	}
	return t.tenant == c.id
}

// jwtSource returns the source of that type, nil without one.
func (h *Handler) jwtSource() *Source {
	for i := range h.From {
		if h.From[i].Type == record.SourceJWT {
			return &h.From[i]
		}
	}
	return nil
}

// readToken reads and checks the token of a request; nil without one, or where
// tokens are no source. Errors are *apierror.Error.
func (h *Handler) readToken(r *http.Request, tenants *tenant.Registry) (*token, error) {
	s := h.jwtSource()
	if s == nil {
		return nil, nil
	}
	text, header, err := s.findToken(r.Header, tenants)
	if err != nil || text == "" {
		return nil, err
	}
	t := s.JWT.check(r.Context(), text)
	t.header = header
	return t, nil
}

// findToken returns the credential that looks like a token, else another one
// that is no known API key. Two tokens are an error: which of two users it is
// must not depend on their order.
func (s *Source) findToken(h http.Header, tenants *tenant.Registry) (text, header string, err error) {
	for _, name := range s.Headers {
		for _, value := range h.Values(name) {
			credential := credentialIn(name, value)
			switch {
			case credential == "", credential == text, tenants.ByKey(tenant.DigestOf(credential)) != nil:
			case text == "", jwt.Looks(credential) && !jwt.Looks(text):
				text, header = credential, name
			case jwt.Looks(credential):
				return "", "", apierror.InvalidRequest(name, "want one token")
			}
		}
	}
	return text, header, nil
}

// check checks a token, and reads whom it names.
func (c *JWT) check(ctx context.Context, text string) *token {
	claims, err := c.verifier.Verify(ctx, text)
	if err != nil {
		return &token{err: err}
	}
	tenantID, _, err := claims.String(c.TenantClaim)
	if err != nil {
		return &token{err: err}
	}
	user, _, err := claims.String(c.UserClaim)
	if err != nil {
		return &token{err: err}
	}
	// anonymous is everybody, and a body could give it another name
	if !chat.ValidUser(user) || user == record.Anonymous {
		err = &jwt.ClaimError{Reason: "The token's claim " + c.UserClaim + " must name a user, in 1 to 128 characters without control characters"}
	}
	return &token{tenant: tenantID, user: user, err: err}
}

// refuse is the answer to a request without the credential that it needs.
func (h *Handler) refuse(t *token) error {
	s := h.jwtSource()
	if s == nil {
		return apierror.InvalidAPIKey()
	}
	want := "send a valid token as Authorization: Bearer TOKEN"
	if !slices.Contains(s.Headers, headerAuthorization) {
		want = "send a valid token in the header " + s.Headers[0]
	}
	if t == nil {
		return apierror.InvalidToken("A login is required: " + want)
	}
	if t.err == nil {
		t.err = &jwt.ClaimError{Reason: "The token names no tenant (" + s.JWT.TenantClaim + ")"}
	}
	if claim, ok := errors.AsType[*jwt.ClaimError](t.err); ok {
		return apierror.InvalidToken(claim.Reason + ": " + want).Because(t.err)
	}
	return apierror.InvalidToken("The token is not valid: " + want).Because(t.err)
}
