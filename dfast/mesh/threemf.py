"""Encode a mesh as a 3MF file, for printers, with colours.

A 3MF file is a ZIP archive of an XML document and two small ones that name it. Colours are those of
the materials extension: a group of colours, and three of its members for each triangle. Source: 3MF
Consortium, "3D Manufacturing Format Core Specification" and "Materials and Properties Extension".
"""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np

from dfast.mesh.placing import Placed

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
MODEL = "3D/3dmodel.model"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
TYPES = (
    f'{HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" '
    'ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
RELATIONS = (
    f'{HEAD}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Target="/{MODEL}" Id="rel0" '
    'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)
DATE = (1980, 1, 1, 0, 0, 0)
"""Of the archive's members, so that equal meshes are equal files."""


def threemf_bytes(mesh: Placed) -> bytes:
    """Return a 3MF file in millimetres, with the colours of the vertices.

    Args:
        mesh: in the axes and unit of the format.

    Returns:
        The content of a .3mf file.
    """
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            ("[Content_Types].xml", TYPES),
            ("_rels/.rels", RELATIONS),
            (MODEL, _model(mesh)),
        ):
            archive.writestr(zipfile.ZipInfo(name, DATE), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _model(mesh: Placed) -> str:
    """Return the XML document of one object."""
    rgb = np.rint(mesh.colors * 255).astype(np.int64)
    palette, member = np.unique(rgb @ [1 << 16, 1 << 8, 1], return_inverse=True)
    colors = "".join(f'<m:color color="#{color:06X}FF"/>' for color in palette.tolist())
    vertices = "".join(
        f'<vertex x="{x:.7g}" y="{y:.7g}" z="{z:.7g}"/>' for x, y, z in mesh.vertices.tolist()
    )
    corners = np.concatenate([mesh.faces, member[mesh.faces]], 1)
    triangles = "".join(
        f'<triangle v1="{a}" v2="{b}" v3="{c}" pid="1" p1="{p}" p2="{q}" p3="{r}"/>'
        for a, b, c, p, q, r in corners.tolist()
    )
    return (
        f'{HEAD}<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}" xmlns:m="{MATERIALS}">'
        f'<resources><m:colorgroup id="1">{colors}</m:colorgroup>'
        '<object id="2" type="model" pid="1" pindex="0">'
        f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh></object>"
        '</resources><build><item objectid="2"/></build></model>'
    )
