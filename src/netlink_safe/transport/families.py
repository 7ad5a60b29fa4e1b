"""Generic netlink families by name: their numbers, their policies, and questions to them.

A family's number is asked for once.  It is another one after its module went and came back; then
the kernel does not know the old one (ENOENT, ``net/netlink/genetlink.c``: genl_rcv_msg), or, much
later, since numbers are given out in a circle (idr_alloc_cyclic), it is another family's, which may
refuse the request with any error, or answer something else.  So where a number was known from
before and the answer is an error, it is asked for again, and if it has changed the request is made
once more.

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from netlink_safe.errors import (
    DecodeError,
    FamilyNotFound,
    KernelError,
    NotSupported,
    RemoteProtocolError,
)
from netlink_safe.protocol.generic import AnsweredRequest
from netlink_safe.transport import steps
from netlink_safe.transport.modules import family_alias, has_list_of_modules, module_for
from netlink_safe.wire.policy import OperationPolicy

if TYPE_CHECKING:
    from netlink_safe.protocol.generic import Controller, GenericRequest, Resolved
    from netlink_safe.protocol.request import Row
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Steps, Terms
    from netlink_safe.wire.policy import Policy


class Families:
    """The families that one opened object has asked for."""

    def __init__(self, pool: SocketPool, controller: Controller) -> None:
        self.pool = pool
        self.controller = controller
        self._known: dict[str, Any] = {}
        self._policies: dict[tuple[str, int, int], OperationPolicy] = {}

    def knows(self, name: str) -> bool:
        """Whether the family's number is known from before."""
        return name in self._known

    def find(self, name: str, terms: Terms) -> Steps[Any, Any]:
        """The family, asked for the first time.  Raises FamilyNotFound."""
        known = self._known.get(name)
        return known or (yield from self.find_anew(name, terms))

    def find_anew(self, name: str, terms: Terms) -> Steps[Any, Any]:
        """The family as it is now.  Raises FamilyNotFound."""
        before = self._known.pop(name, None)
        found = yield from self._found(name, before, terms)
        if before is not None and (found is None or before.id != found.id):
            self._policies = {
                key: policy for key, policy in self._policies.items() if key[0] != name
            }
        if found is None:
            alias = family_alias(name)
            raise FamilyNotFound(name, alias, module_for(alias), has_list_of_modules())
        self._known[name] = found
        return found

    def all(self, terms: Terms) -> Steps[Any, list[Any]]:
        """All families of the network namespace."""
        return (yield from steps.whole(self.pool, self.controller.get_families(), terms))

    def policy(self, family: Resolved, command: int, terms: Terms) -> Steps[Any, OperationPolicy]:
        """What an operation takes, asked for the first time.  Raises NotSupported."""
        key = family.name, family.id, command
        known = self._policies.get(key)
        if known is None:
            found = yield from self._dumped(family, command, terms)
            known = self._policies[key] = next(iter(found.values()), OperationPolicy())
        return known

    def policies(self, family: Resolved, terms: Terms) -> Steps[Any, dict[int, OperationPolicy]]:
        """What each operation takes; nothing of those that take anything.

        Raises NotSupported before Linux 5.10.
        Of operations that can be dumped and no more the kernel says that they are number 0
        (``net/netlink/genetlink.c``: ctrl_dumppolicy_put_op); they are asked for one by one, as is
        the operation that is number 0, where the family has one.
        """
        found = yield from self._dumped(family, None, terms)
        if found.pop(0, None) is not None:
            for operation in family.operations:
                if operation.command == 0 or (operation.can_dump and not operation.can_do):
                    one = yield from self.policy(family, operation.command, terms)
                    if one != OperationPolicy():
                        found[operation.command] = one
        return found

    def _found(self, name: str, _before: Any, terms: Terms) -> Steps[Any, Any]:
        """The family, None where there is none; by name, for which the kernel loads a module."""
        try:
            (found,) = yield from steps.whole(self.pool, self.controller.get_family(name), terms)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return None
        return found

    def _dumped(
        self, family: Resolved, command: int | None, terms: Terms
    ) -> Steps[Any, dict[int, OperationPolicy]]:
        """What the kernel says of one operation, or of all, by the numbers that it gives them."""
        request = self.controller.get_policy(family.name, command)
        try:
            parts = yield from steps.whole(self.pool, request, terms)
        except KernelError as error:
            if error.errno == errno.ENODATA:  # no operation of it has a policy
                return {}
            if error.errno == errno.EOPNOTSUPP:
                raise NotSupported(error.errno, request.name, "5.10", error.extack) from None
            if error.errno != errno.ENOENT:
                raise
            now = yield from self.find_anew(family.name, terms)  # this may load its module again
            if command is not None and now.operation(command) is None:
                feature = f"operation {command} of {family.name}"
                raise NotSupported(errno.EOPNOTSUPP, feature) from None
            parts = yield from steps.whole(self.pool, request, terms)
        return self.controller.joined(parts)


class LoadedFamilies(Families):
    """Families that are there; for one that is gone no module is loaded.

    When asked by name the kernel loads one (``net/netlink/genetlink.c``: ctrl_getfamily), and so it
    would again behind whoever has just removed it; when asked by number or for all it does not.
    """

    def _found(self, name: str, before: Any, terms: Terms) -> Steps[Any, Any]:
        if before is not None:
            request = self.controller.get_family_of_number(before.id)
            try:
                (now,) = yield from steps.whole(self.pool, request, terms)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
            else:
                if now.name == name:
                    return now
        everyone = yield from self.all(terms)
        return next((one for one in everyone if one.name == name), None)


def policy_of(
    families: Families, name: str, command: int, terms: Terms
) -> Steps[Any, OperationPolicy]:
    """What an operation of a family takes.  Raises NotSupported for one that it has not."""
    family = yield from families.find(name, terms)
    return (yield from families.policy(family, command, terms))


def policies_of(
    families: Families, name: str, terms: Terms
) -> Steps[Any, dict[int, OperationPolicy]]:
    """What each operation of a family takes."""
    family = yield from families.find_anew(name, terms)
    return (yield from families.policies(family, terms))


def ask(
    families: Families, request: GenericRequest[Row], terms: Terms, is_dump: bool
) -> Steps[Row, None]:
    """Yield the rows of one question to a family.

    It is made again, once, where the family's number was an old one; an order only where it was
    refused.  What nobody can see is an order that was accepted by another family, which has the
    number now: that one has done what the same command means to it.
    """
    was_known = families.knows(request.family)
    family = yield from families.find(request.family, terms)
    policy = yield from policy_for(families, family, request, terms, is_dump)
    try:
        yield from steps.ask(families.pool, [request.bound(family, policy, is_dump)], terms)
    except (KernelError, DecodeError) as error:
        if terms.collectors[-1].handed_out:
            raise
        now = (yield from families.find_anew(request.family, terms)) if was_known else family
        if now.id == family.id:
            raise _explained(error, now, request, is_dump) from error.__cause__
        if isinstance(error, DecodeError) and not (is_dump or request.idempotent):
            raise  # whoever answered has carried it out
    else:
        return
    policy = yield from policy_for(families, now, request, terms, is_dump)
    yield from steps.ask(families.pool, [request.bound(now, policy, is_dump)], terms)


def row_or_none(rows: list[Row], request: GenericRequest[Row]) -> Row | None:
    """The one row of a request to a family, which may have none, unless it is always answered.

    Raises RemoteProtocolError for several, and for one that is missing.
    """
    name = request.name
    if len(rows) > 1:
        raise RemoteProtocolError(f"{name} was answered with {len(rows)} messages; ask by dump()")
    if not rows and isinstance(request, AnsweredRequest):
        raise RemoteProtocolError(f"the kernel acknowledged {name} and gave no row")
    return rows[0] if rows else None


def policy_for(
    families: Families, family: Resolved, request: GenericRequest[Any], terms: Terms, is_dump: bool
) -> Steps[Any, Policy | None]:
    """The policy by which a request is encoded and its rows are read, if it wants one."""
    if not request.wants_policy or family.operation(request.command) is None:
        return None
    try:
        found = yield from families.policy(family, request.command, terms)
    except NotSupported:  # then only bytes can be given
        return None
    if is_dump and found.dump is not None:
        return found.dump
    return found.do  # of many dumps older kernels tell none, although they take the same


def _explained(
    error: KernelError | DecodeError,
    family: Resolved,
    request: GenericRequest[Any],
    is_dump: bool,
) -> KernelError | DecodeError:
    """An EOPNOTSUPP that is about the operation as such says so."""
    operation = family.operation(request.command)
    able = operation is not None and (operation.can_dump if is_dump else operation.can_do)
    if isinstance(error, DecodeError) or error.errno != errno.EOPNOTSUPP or able:
        return error
    verb = "dump" if is_dump else "request"
    feature = f"operation {request.command} of {family.name} as a {verb}"
    return NotSupported(errno.EOPNOTSUPP, feature, extack=error.extack)
