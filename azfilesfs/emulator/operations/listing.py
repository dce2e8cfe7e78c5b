"""List Directories and Files, and the handles that REST never opens."""

from __future__ import annotations

import base64
from bisect import bisect_left
from typing import Final

from azfilesfs.emulator.answer import Answer, xml_answer
from azfilesfs.emulator.errors import invalid_header, invalid_query
from azfilesfs.emulator.lookup import read_place
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service, Share
from azfilesfs.emulator.tree import Directory, File, Node, order_key
from azfilesfs.emulator.wire import attributes_text, iso, rfc1123, unb64
from azfilesfs.emulator.xml import attribute, element, name_element
from azfilesfs.model.limits import LIST_PAGE_ENTRIES
from azfilesfs.model.times import etag_of

IDS_SINCE: Final = "2020-10-02"
DETAILS_SINCE: Final = "2020-04-08"
CHANGE_TIME_SINCE: Final = "2020-06-12"
ENCODED_SINCE: Final = "2021-12-02"
_KNOWN_DETAILS: Final = frozenset({"timestamps", "etag", "attributes", "permissionkey"})


def list_directories_and_files(service: Service, request: Request) -> Answer:
    """List one page of a directory, in the service's order."""
    place = read_place(service, request)
    directory = place.directory(writes=False)
    details = _details(request)
    limit = request.page_size(LIST_PAGE_ENTRIES)
    prefix = request.query.get("prefix", "")
    nodes, following = _page(
        directory, request, prefix, min(limit or LIST_PAGE_ENTRIES, LIST_PAGE_ENTRIES)
    )
    may_encode = request.version >= ENCODED_SINCE
    head = _head(request, place.share, directory, prefix, limit)
    show_ids = request.version >= IDS_SINCE or (
        request.version >= DETAILS_SINCE
        and (bool(details) or request.headers.get("x-ms-file-extended-info") == "true")
    )
    if request.version >= IDS_SINCE:
        head += f"<DirectoryId>{directory.id}</DirectoryId>"
    with_change = request.version >= CHANGE_TIME_SINCE
    entries = "".join(
        [
            _entry(node, details, show_ids=show_ids, with_change=with_change, may_encode=may_encode)
            for node in nodes
        ]
    )
    body = f"<Entries>{entries}</Entries>" if entries else "<Entries />"
    marker = element("NextMarker", marker_for(following.name) if following is not None else "")
    return xml_answer(f"{head}{body}{marker}</EnumerationResults>")


def _details(request: Request) -> frozenset[str]:
    text = request.query.get("include", "")
    if not text or request.version < DETAILS_SINCE:
        return frozenset()
    wanted = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if not wanted <= _KNOWN_DETAILS:
        raise invalid_query("include", text)
    return wanted


def _head(
    request: Request, share: Share, directory: Directory, prefix: str, limit: int | None
) -> str:
    may_encode = request.version >= ENCODED_SINCE
    snapshot = f' ShareSnapshot="{attribute(share.snapshot)}"' if share.snapshot else ""
    root = (
        f'<EnumerationResults ServiceEndpoint="{attribute(request.endpoint)}" '
        f'ShareName="{attribute(share.name)}"{snapshot} '
        f'DirectoryPath="{attribute(directory.path())}">'
    )
    parts = [root]
    if prefix:
        parts.append(name_element("Prefix", prefix, may_encode=may_encode))
    if request.query.get("marker"):
        parts.append(element("Marker", request.query["marker"]))
    if limit is not None:
        parts.append(f"<MaxResults>{limit}</MaxResults>")
    return "".join(parts)


def _page(
    directory: Directory, request: Request, prefix: str, limit: int
) -> tuple[list[Node], Node | None]:
    """Return the entries of this page and the first one after it."""
    order = directory.order()
    first_key = order_key(prefix)
    first = bisect_left(order, first_key)
    marker = request.query.get("marker")
    if marker:
        first = max(first, bisect_left(order, order_key(marked_name(marker))))
    keys = order[first : first + limit + 1]
    if prefix:
        keys = [key for key in keys if key.startswith(first_key)]
    nodes = [directory.children[key] for key in keys]
    return nodes[:limit], nodes[limit] if len(nodes) > limit else None


def marker_for(name: str) -> str:
    """Return the marker of a page that starts with this name."""
    text = base64.b64encode(name.encode("utf-8", "surrogatepass")).decode().replace("=", "-")
    return f"1!{len(text)}!{text}"


def marked_name(marker: str) -> str:
    """Return the name that a marker stands for.

    Raises:
        ServiceError: it is not one of ours.
    """
    kind, _, rest = marker.partition("!")
    data = unb64(rest.partition("!")[2].replace("-", "="))
    if kind != "1" or data is None:
        raise invalid_query("marker", marker)
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise invalid_query("marker", marker) from None


def _entry(
    node: Node, details: frozenset[str], *, show_ids: bool, with_change: bool, may_encode: bool
) -> str:
    tag = "File" if isinstance(node, File) else "Directory"
    name = name_element("Name", node.name, may_encode=may_encode)
    file_id = f"<FileId>{node.id}</FileId>" if show_ids else ""
    properties = f"<Content-Length>{node.size}</Content-Length>" if isinstance(node, File) else ""
    if "timestamps" in details:
        creation = iso(node.creation)
        change = f"<ChangeTime>{iso(node.change)}</ChangeTime>" if with_change else ""
        properties += (
            f"<CreationTime>{creation}</CreationTime><LastAccessTime>{creation}</LastAccessTime>"
            f"<LastWriteTime>{iso(node.last_write)}</LastWriteTime>{change}"
            f"<Last-Modified>{rfc1123(node.modified)}</Last-Modified>"
        )
    if "etag" in details:
        properties += f"<Etag>{etag_of(node.modified)}</Etag>"
    shown = f"<Properties>{properties}</Properties>" if properties else "<Properties />"
    rest = ""
    if "attributes" in details:
        rest += f"<Attributes>{attributes_text(node.attributes)}</Attributes>"
    if "permissionkey" in details:
        rest += f"<PermissionKey>{node.permission_key}</PermissionKey>"
    return f"<{tag}>{name}{file_id}{shown}{rest}</{tag}>"


def list_handles(service: Service, request: Request) -> Answer:
    """List no handles: only SMB clients open any."""
    place = read_place(service, request)
    if place.node is None:
        place.file(writes=False)
    return xml_answer("<EnumerationResults><Entries /><NextMarker /></EnumerationResults>")


def force_close_handles(service: Service, request: Request) -> Answer:
    """Close no handles."""
    place = read_place(service, request)
    if place.node is None:
        place.file(writes=False)
    handle = request.required("x-ms-handle-id")
    if handle != "*" and not (handle.isascii() and handle.isdigit()):
        raise invalid_header("x-ms-handle-id", handle)
    return Answer(
        200,
        [("x-ms-number-of-handles-closed", "0"), ("x-ms-number-of-handles-failed", "0")],
    )
